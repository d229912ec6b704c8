"""Unipile's v1 routes over the world, by what they are about, as unipile.md describes them."""
