"""Quality of pictures after a noisy channel; see `__main__`."""
