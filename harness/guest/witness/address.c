// SPDX-License-Identifier: GPL-2.0-only
/* Where a witness is reached. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "address.h"
#include "options.h"

int address(struct sockaddr_un *un)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	if (strlen(options.socket) >= sizeof(un->sun_path))
		return -1;
	strcpy(un->sun_path, options.socket);
	return 0;
}
