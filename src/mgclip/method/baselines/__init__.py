"""What MG-CLIP is compared with: its parts alone, the plain ways, and its peers, one file each; ``table.py`` lists them."""
