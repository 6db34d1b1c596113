import { STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

const explanations: Record<number, string> = {
  401: 'This page is for users who are logged in.',
  403: 'The form was sent from another site, or by a browser that does not say from where. Nothing was changed.',
  404: 'There is no such page.',
  503: 'The session store does not answer, so we cannot know who you are. You are not logged out: try again soon.',
};

/** Errors as a page. It asks nothing of the session, which may be the very thing that failed. */
@Catch()
export class ErrorPageFilter implements ExceptionFilter {
  readonly #logger = new Logger('ErrorPage');

  constructor(private readonly adapterHost: HttpAdapterHost) {}

  catch(exception: unknown, host: ArgumentsHost): unknown {
    const { httpAdapter } = this.adapterHost;
    const response: unknown = host.switchToHttp().getResponse();
    const status = statusOf(exception);
    // SessionGuard redirects by an exception whose Location is already set.
    if (status < 400) return httpAdapter.reply(response, null, status);
    if (status === 500) this.#logger.error(exception);
    httpAdapter.status(response, status);
    return httpAdapter.render(response, 'error', {
      title: STATUS_CODES[status],
      status,
      explanation: explanations[status] ?? 'This did not work.',
      needsLogin: status === 401,
    });
  }
}

/** Body parsers throw errors of their own, with a `statusCode`. */
function statusOf(exception: unknown): number {
  if (exception instanceof HttpException) return exception.getStatus();
  const { statusCode } = Object(exception) as { statusCode?: unknown };
  return typeof statusCode === 'number' && statusCode >= 400 ? statusCode : 500;
}
