"""What else the fitted system does besides resting at fixed points: cycles, flow, exponents, branches, switching."""
