"""How a run is shown: in the terminal while it runs, as a tree and tables, as a diagram."""
