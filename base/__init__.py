"""What every layer may use: it imports none of them."""
