"""tru: makes a multimodal recommender forget, shows that it did, and only then lets it serve (arXiv 2604.02183)."""

__version__ = "0.2.0.dev0"
