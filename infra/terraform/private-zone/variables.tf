variable "vpc" {
  description = "The VPC whose hosts have the names"
  type        = string
}

variable "domain" {
  description = "The domain of the hosts' names"
  type        = string
  default     = "corp.internal"
}

variable "reverse_domain" {
  description = "The reverse zone of the VPC's addresses, such as 20.10.in-addr.arpa for 10.20.0.0/16; empty for none"
  type        = string
  default     = ""
}

variable "force_destroy" {
  description = "Whether hosts' records are deleted with the zones"
  type        = bool
  default     = false
}
