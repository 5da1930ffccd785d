"""What runs by itself: each a `…_once` function, turned by `every`."""
