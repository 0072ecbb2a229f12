"""What containers use, and which processes run in them."""
