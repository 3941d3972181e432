"""The nouns of hwnas; standard library and numpy only."""
