"""The path of an image through a trained model, from files to classes and their areas."""
