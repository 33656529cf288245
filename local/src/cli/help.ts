export const USAGE = 'Usage: custom-authorizer-local --authorizer NAME=MODULE [flags]'

export const HELP = `${USAGE}

Runs AWS IoT Core's front door on this machine, with your own custom authorizers
behind it, and shows what happens there.

Authorizers
  --authorizer NAME=MODULE      A module that exports the Lambda handler, seen from
                                the working directory; reloaded when it changes.
  --authorizer NAME=lambda:URL  A function behind the Lambda Invoke API, such as
                                lambda:http://127.0.0.1:3001/MyFunction
  Of the --authorizer before them, until the next one:
    --token-key-name NAME       The parameter in which the client sends the token.
    --public-key FILE           PEM. A token has to be signed by one of these keys.
                                May be given several times.
    --signing-disabled          No signature is checked. The same as no --public-key.
    --inactive                  The authorizer exists, and refuses everybody.
  --default-authorizer NAME     For clients that name none.

Endpoint
  --port NUMBER                 [default 8443; 0 takes a free one]
  --host ADDRESS                Where to listen. [default 127.0.0.1]
  --host-name NAME              A further name for certificate and SNI, beside
                                localhost and *.iot.<region>.amazonaws.com. May be
                                given several times.
  --region NAME                 [default us-east-1]
  --account-id DIGITS           [default 123456789012]
  --profile aws|friendly        friendly tells a refused client why; aws refuses as
                                silently as IoT Core. [default friendly]
  --handler-timeout SECONDS     How long a handler may take, for debugging. [default 5,
                                as in IoT Core]
  --ca-file PATH                The CA certificate is written there, and stays.
                                [default: a temporary file]
  --config FILE                 The options of startLocalEndpoint: JSON, or a module
                                whose default export is the object or a function.
                                Flags win over it.

Log
  --json                        One JSON object a line, and nothing else.
  --quiet                       Leaves out the event that a handler gets, and its answer.
  --redact                      Masks passwords, tokens and signatures, which are
                                shown otherwise.
  --no-color                    No colours. There are none in a pipe or with NO_COLOR.

  -h, --help                    Shows this text.
  --version                     Shows the version.

Exit code: 0 ended by Ctrl-C or SIGTERM, 1 could not start, 2 wrong usage.

Example:
  custom-authorizer-local --authorizer MyAuthorizer=./authorizer.mjs
`
