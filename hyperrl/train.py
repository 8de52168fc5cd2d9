from hyperrl.trainer import *  # temporary
