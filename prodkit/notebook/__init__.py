"""The notebook's face: magics, cards and widgets. Only this room imports IPython and ipywidgets."""
