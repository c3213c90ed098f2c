"""Targeted reverse update in closed form, as this project found it by measurement."""
