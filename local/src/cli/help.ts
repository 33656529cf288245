export const USAGE = 'Usage: custom-authorizer-local --authorizer NAME=MODULE [flags]'

export const HELP = `${USAGE}

Runs AWS IoT Core's front door on this machine, with your own custom authorizers behind it.

Authorizers
  --authorizer NAME=MODULE      A module that exports the Lambda handler; reloaded when it changes.
  --authorizer NAME=lambda:URL  A function behind the Lambda Invoke API: lambda:http://127.0.0.1:3001/MyFunction
  These belong to the --authorizer before them:
    --token-key-name NAME       Where the token is found.
    --public-key FILE           PEM; a token is accepted if one of these keys has signed it. Repeatable.
    --signing-disabled          No signature is checked. So it is without a --public-key.
    --inactive                  The authorizer exists and refuses everybody.
  --default-authorizer NAME     For clients that name none.

Endpoint
  --port NUMBER                 default 8443; 0: one that is free
  --host ADDRESS                default 127.0.0.1
  --host-name NAME              Further name for certificate and SNI. Repeatable.
  --region NAME                 default us-east-1
  --account-id DIGITS           default 123456789012
  --profile aws|friendly        default friendly: refusals say why. aws: they are as mute as IoT Core's.
  --ca-file PATH                Writes the certificate authority's certificate there as well.
  --config FILE                 JSON, or a JavaScript module: the options of startLocalEndpoint. Flags win over it.

Log
  --json                        One JSON object a line, and nothing else.
  --redact                      Masks passwords, tokens and signatures.
  --no-color                    No colours; none are used in a pipe.

  -h, --help  --version
`
