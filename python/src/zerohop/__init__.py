"""Zerohop: an embedding server for one host. This package has replicas in Python, and a client."""
