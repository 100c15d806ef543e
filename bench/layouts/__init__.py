"""Layouts of an authenticated map that were tried, so that the choice can be measured again."""
