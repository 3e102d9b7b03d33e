"""What MG-CLIP is compared with. ``table.py`` lists every method; RanPAC and RAPF have a file each."""
