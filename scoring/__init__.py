"""One number: image decoding, encoders and the scores made of their vectors."""
