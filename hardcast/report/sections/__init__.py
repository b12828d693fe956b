"""One file a section: each gives its part of the template what it shows. Order: page.py."""
