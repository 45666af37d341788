"""Everything that happens to weights: training them, measuring them, keeping them safe."""
