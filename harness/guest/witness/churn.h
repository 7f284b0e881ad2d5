/* SPDX-License-Identifier: GPL-2.0-only */
/* The command "witness churn". */
#ifndef CHURN_H
#define CHURN_H

int churn(int argc, char **argv);

#endif
