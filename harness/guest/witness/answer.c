// SPDX-License-Identifier: GPL-2.0-only
/* An answer: gathered, and sent in one piece. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "answer.h"

bool answer_begin(struct answer *answer)
{
	answer->text = NULL;
	answer->stream = open_memstream(&answer->text, &answer->length);
	return answer->stream;
}

bool answer_send(struct answer *answer, int fd, int status)
{
	char prefix[8];
	size_t done = 0;
	bool sent = false;

	if (fclose(answer->stream))
		goto out;
	snprintf(prefix, sizeof(prefix), "%d ", status);
	if (write(fd, prefix, 2) != 2)
		goto out;
	while (done < answer->length) {
		ssize_t n = write(fd, answer->text + done,
				  answer->length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			goto out;
		done += n;
	}
	sent = true;
out:
	free(answer->text);
	return sent;
}
