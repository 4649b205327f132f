"""A person teaches pixels: scribbles in, classes with their doubt out; exchange with ilastik."""
