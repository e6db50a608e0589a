# Thin names for ./dev, which does the work and says more: ./dev --help
.PHONY: demo test test-matrix bench clean

demo test bench clean:
	@./dev $@

test-matrix:
	@./dev matrix
