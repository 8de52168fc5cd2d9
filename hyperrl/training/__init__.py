"""The meta-loop: iterations, held-out play, and what is kept of them."""
