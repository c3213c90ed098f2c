"""Destroying what DVC keeps of older data: cache, run cache, remotes."""
