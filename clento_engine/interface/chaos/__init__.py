"""The proof by killing: a hostile world, and the judge over what came of it."""
