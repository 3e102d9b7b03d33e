"""What MG-CLIP is compared with. RanPAC, ACIL and RAPF have a file each; ``method/methods.py`` lists every method."""
