"""What breaks on purpose, many times over: kills, refused writes, flipped bits."""
