"""The model floor: torch only."""
