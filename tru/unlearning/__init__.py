"""The unlearners: ways to make a trained model behave as if it had been trained without some data."""
