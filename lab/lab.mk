# The lab: a real API server and a real domain controller on this machine. Included by the Makefile, which gives PY and the rule `venv`.

.PHONY: lab
lab: venv system ## build the lab's programs (once, about 6 minutes) and provision its domain
	@$(PY) -m lab build

.PHONY: lab-up
lab-up: lab ## start a lab of your own: API server and domain controller, without the operator
	@$(PY) -m lab up

.PHONY: lab-down
lab-down: ## stop it and delete its files
	@if [ -x $(PY) ]; then $(PY) -m lab down; fi

.PHONY: lab-status
lab-status: ## what is running in it
	@if [ -x $(PY) ]; then $(PY) -m lab status; fi
