"""Durable objects: the persistent base class, tracked containers and namespaces."""
