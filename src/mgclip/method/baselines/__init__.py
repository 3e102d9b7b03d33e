"""What MG-CLIP is compared with. ``table.py`` lists every method; RanPAC, ACIL and RAPF have a file each."""
