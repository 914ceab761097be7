"""Stands in for the package that would start a cluster in docker: the cluster is there already."""
