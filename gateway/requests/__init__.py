"""From a public request to the plan that is carried out, and from a plan to the recipe in a picture."""
