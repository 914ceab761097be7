"""The vocabulary, pure: kinds, events, names, the pod environment contract and the error tree."""
