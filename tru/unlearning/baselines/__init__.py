"""The other methods of the field, each written from its paper, to compare with."""
