"""Rules in CEL (`x-kubernetes-validations`, match conditions): checked when they are written, then evaluated.

A small parser of our own knows the types of a schema: it finds fields that are not there, estimates costs and spells
the functions Kubernetes adds. The evaluator is the PyPI package `common-expression-language`, loaded when first needed.
"""
