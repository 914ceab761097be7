"""The verbs, and the one grammar that the command line and the magic share."""
