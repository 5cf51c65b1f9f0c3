"""Search spaces: YAML files for people to edit, and the code that loads and checks them."""
