"""The commands, a module for each group. Importing them is cheap: what they need is imported when
they run."""
