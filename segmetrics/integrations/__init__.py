"""Adapters to training libraries, a module for each."""
