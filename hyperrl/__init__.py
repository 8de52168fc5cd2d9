"""hyperrl"""
