"""Data: reading, importing, generating, splitting, cutting and checking what a recommender learns from."""
