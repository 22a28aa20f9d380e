"""The reference pages, made of the commands and of the configuration's models themselves."""
