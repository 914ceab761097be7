"""Schemas of objects: compiled structural schemas, the built-in ones, CustomResourceDefinitions. Pure."""
