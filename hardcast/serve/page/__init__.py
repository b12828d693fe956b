"""What a person sees: the page's files, markdown, what the silicon would have taken."""
