"""The pages of this folder that are written from the code: `make docs`."""
